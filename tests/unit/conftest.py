"""What the tests that need no engine share."""

import cpuinfo

# The SDK asks for the processor's name as it is imported, which takes a process and a second.
cpuinfo.get_cpu_info = lambda: {"brand_raw": "a processor"}
