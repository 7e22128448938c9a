"""Erasing a person's data on request (GDPR Article 17): requests, targets, runner, certificates, replay."""
