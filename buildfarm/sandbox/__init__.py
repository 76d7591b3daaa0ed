"""What a builder does with a container engine: images, containers, phases, limits, verdicts.

Nothing here knows the database, the queues or the forge: an attempt comes in as an `AttemptSpec`,
talks to the farm through a `FarmPort` and goes out as an `AttemptOutcome`. The `inside` folder is
copied into the containers and runs there.
"""
