"""The bodies of the HTTP routes, requests and answers: validation, `/openapi.json` and the code read the same types."""
