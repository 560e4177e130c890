"""Makes ``twistd twisted-lb`` known to twistd."""

from twisted.application.service import ServiceMaker

twisted_lb = ServiceMaker(
    "twisted-lb",
    "twisted_lb.tap",
    "A proxy and load balancer for TCP and HTTP, extended with plugins.",
    "twisted-lb",
)
