"""The app. A press goes through these rooms from top to bottom, and what it shows comes back up:

    app, options, command    how the studio is started, for whom, and with which tabs; crowd: a class that tries it from outside
    tabs                     one file a tab: which widgets stand where, and what each is for
    endpoints                the same for programs: functions behind the API's names and MCP tools
    handlers                 what the buttons of Prompt and Denoise ask, where that is more than one question
    work                     pieces of work that the engine runs slice by slice, each showing what it has so far
    widgets                  what tabs are built from: controls made from Recipe's fields, links, uploads, status lines
    figures                  pure functions from numbers and pictures to the tables that a page draws
    formats                  what is written into files, links and texts, and read from them as if by a stranger's hand
    service                  the engine: one worker thread that owns the device, whose turn it is, what a visitor may take

A room uses those below it, and core; tests/test_architecture.py holds it to that.
"""
