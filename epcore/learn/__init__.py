"""The course: stages in order, each checked on the student's own code."""
