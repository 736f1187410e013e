"""`epcore demo`: the whole system at work on figures it has never seen, as a contact sheet and a page."""
