"""The names that statements use: in-toto's, SLSA's, and the farm's own under its public URL."""

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"

#: Type, under the farm's URL, of what is said of a file that a second build made with the same bytes.
REPRODUCED_PATH = "/predicates/reproduced/v1"
BUILD_TYPE_PATH = "/buildtypes/python-wheel/v1"
#: Builds in containers of their own; what another security property has gets another path (SLSA 1.2).
BUILDER_PATH = "/builders/container-isolated/v1"
#: The same on a host that serves several tiers.
SHARED_BUILDER_PATH = "/builders/container-isolated-shared/v1"
#: Builds whose compilers took from what other builds of the same source had left.
CACHED_BUILDER_PATH = "/builders/container-cached/v1"
