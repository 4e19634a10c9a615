"""One process that answers for all models of a store.

``presence``  who serves this store; read without a server
``keys``      who may ask, and for what
``follow``    aliases as the store has them now
``engine``    models in memory, and batches of what is asked of them
``canary``    who gets a share of the requests, and what becomes of it
``service``   find, answer, write the journal, and only then tell
``guard``     keys, limits, headers
``app``       HTTP
``metrics``   counters
``router``    small first, a larger one where it helps; usable without a server
``run``       sockets, signals, an orderly end

Nothing but ``app``, ``metrics`` and ``run`` needs the extra ``sartor[serve]``.
"""
