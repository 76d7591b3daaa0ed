"""The index front: answers what it is sure of from rendered pages, splices everything else to web.

A connection's bytes are read by one parser or the other, never by both: a request is answered here
when it matches a closed grammar that knows no bodies, and from the first one that does not, the whole
connection is web's. See docs/adr/0011-embedded-front.md.
"""
