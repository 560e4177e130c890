"""The bundled plugins, imported as ``twisted_lb_plugins``: one file per capability, named STAGE_WHAT.

They use nothing of twisted-lb but ``twisted_lb.api``, exactly as a third party's plugin does.
"""
