"""Define the HTTP interface of the supervisor: messages, operations, and the documents generated from both."""
