"""What tests share: real servers, logins, certificates, commands that are stopped, hostile files.

Here: what tests of more than one package use. Not here: fixtures of one package (its conftest.py).
"""
