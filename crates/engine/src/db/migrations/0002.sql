-- From format 1 to format 2. Fresh databases take this step too, so that there is one way to today's tables.

-- Content.

-- State in step.

-- Groups.

-- Succession and healing.

-- Devices, history, backup.
