"""twisted-lb: a proxy and load balancer on Twisted, extended with plugins.

The map of this package; imports only ever point up this list, and a connection walks down ``stages/``:

- ``errors``       whose fault: the operator's, the remote side's, a plugin's
- ``endings``      why a connection ended, with its two-letter code
- ``verdicts``     the only answers that a stage or plugin gives
- ``token_bucket`` how many bytes may pass
- ``facts``        what has been learnt about a connection
- ``declared``     which facts there are, and of which type
- ``wire``         bytes to values and back, without Twisted and without a clock
- ``networks``     sets of networks and addresses
- ``turns``        taking turns according to weights
- ``lookups``      questions that somebody else answers, remembered for a while
- ``web_service``  a service that is asked over HTTP
- ``patterns``     regular expressions that take linear time
- ``routing``      where a request or a connection goes: the first route that takes it
- ``config``       one TOML file read into frozen structs
- ``tables``       counters by key: how often, how much, how fast
- ``contracts``    what the objects that plugins build must be able to do
- ``records``      what is told of a connection or a request that ended
- ``supply``       what a hook supplies under a name, and with which options
- ``greeted``      what validators of protocols have in common in which the server speaks first
- ``api``          the front desk: all that a plugin may import
- ``hookspecs``    every hook
- ``plugin_host``  finds, checks and merges plugins
- ``counting``     what is counted in tables while connections walk
- ``logs``         where lines go: files that can be reopened
- ``net``          sockets: one epoll, streams, timers, listening and connecting
- ``backends``     pools of servers and their counters
- ``stages``       the rooms that a connection walks through
- ``rules``        conditions on facts, written as text, and what follows from them
- ``endpoints``    Twisted endpoints for any application
- ``frontend``     what a frontend's connections are asked, and where they go
- ``process``      what all sessions of the process share
- ``parting``      how clients that are refused are parted from
- ``walk``         the order of the rooms
- ``session``      one connection on its way through them
- ``tcp_session``  what TCP mode does in them
- ``http_client``  HTTP mode: the client's side of a session
- ``http_upstream`` HTTP mode: its way to a server
- ``http_endings`` HTTP mode: requests that no server answers
- ``http_bodies``  HTTP mode: bodies that matter before a server is chosen
- ``http_session`` what HTTP mode does in them, request by request
- ``http_express`` HTTP mode: plain exchanges, with as little as they need
- ``endpoint_session`` sessions whose clients came through Twisted endpoints
- ``problems``     what is wrong with a configuration, collected to be told at once
- ``http_assembly`` what the settings of HTTP mode become
- ``validator_assembly`` what the entries of ``validators`` become
- ``policy_assembly`` what the entries of ``policies`` become
- ``table_assembly`` what ``tables`` become
- ``bind_check``   what can be found out about a ``bind`` entry before it listens
- ``descriptors``  how many the configuration takes, and whether there are as many
- ``backend_assembly`` what ``backends`` become: servers, the way to each of them, and their checks
- ``assembly``     from the configuration to the objects that serve
- ``binding``      one open ``bind`` entry: its listening sockets
- ``privileges``   what is needed of root after the start, and how just that is kept
- ``service``      start, reload, graceful stop
- ``demo``         two small servers to try the proxy with
- ``tap``          twistd's options and service maker
- ``doctor``       what this machine lacks for a configuration, and what puts it right
- ``explain``      what a configuration does with a connection that somebody describes
- ``command``      the console script: the doctor, explanations, and PROXY headers taken apart or put together
- ``testing``      fakes and contract suites, for us and for plugin authors
"""

__version__ = "0.1.0"
