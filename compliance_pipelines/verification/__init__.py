"""The auditor's view: everything against everything, with the database or the bucket alone. It only reads."""
