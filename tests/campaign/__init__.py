"""Damaged and hostile files by the thousand, and what epcore makes of each:
`python -m tests.campaign --cases 10000 --seed S`."""
