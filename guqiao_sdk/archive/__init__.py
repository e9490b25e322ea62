"""Archives of a replica's sealed segments: read, verified and proven from without any service.

An archive is a folder of segment files and of manifests that say what they hold. Everything that it
proves follows from finality certificates; docs/protocol/archive.md has the form and the rules.
"""
