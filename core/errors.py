"""The one exception for what a user can mend: its text is one sentence that says what, why and what to do."""


class UserError(ValueError):
    """Something the user asked for or handed in cannot be used; the message is fit for the screen."""
