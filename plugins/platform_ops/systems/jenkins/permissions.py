"""What our account needs at Jenkins, in the words of its security matrix: group/permission."""

from __future__ import annotations

from platform_ops.common.permissions import Permission

READ = Permission("Job/Read", "build_image finds the builds of a job")
BUILD = Permission("Job/Build", "build_image starts builds")
CANCEL = Permission("Job/Cancel", "a person who ends build_image ends the build too")
CONFIGURE = Permission("Job/Configure", "a job could be made to build something else", wanted=False)
ADMINISTER = Permission("Overall/Administer", "every job and credential could be changed", wanted=False)
PERMISSIONS = (READ, BUILD, CANCEL, CONFIGURE, ADMINISTER)

IN_BLUE_OCEAN = {"start": BUILD, "stop": CANCEL, "configure": CONFIGURE}
"""Blue Ocean's words (jenkinsci/blueocean-plugin, AbstractPipelineImpl.getPermissions)."""
