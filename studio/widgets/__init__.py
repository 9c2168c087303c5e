"""What tabs are built from: controls, the page around them, uploads, downloads, status lines."""
