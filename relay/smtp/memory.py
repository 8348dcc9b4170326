"""What ten thousand idle TLS sessions cost, and how it is kept small."""

from __future__ import annotations

import asyncio.sslproto
import ctypes
import functools

#: glibc's number for the parameter (malloc.h)
_M_MMAP_THRESHOLD = -3
_THRESHOLD_OCTETS = 200 * 1024
#: M_TRIM_THRESHOLD. The first limit switches glibc's own adjusting of this one off as well; without it, every
#: message of some size gives its pages back to the kernel and takes them again.
_M_TRIM_THRESHOLD = -1
_TRIM_OCTETS = 8 * 1024 * 1024
#: the longest TLS record (RFC 8446 §5.1)
RECORD_OCTETS = 16 * 1024


@functools.cache
def keep_tls_buffers_small() -> None:
    """Make idle TLS sessions cost what they use; for the whole process, once.

    Each TLS session owns a buffer of 256 KiB, of which an idle one has touched a page. uvloop allocates it:
    glibc maps such blocks on their own until the first one is freed, then takes them from the heap, where
    their pages are already dirty: 48 KiB a session instead of 29. Setting the limit ends its growth.
    asyncio writes zeros over the whole buffer, 282 KiB a session; there the buffer itself gets smaller.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_OCTETS)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_OCTETS)
    asyncio.sslproto.SSLProtocol.max_size = RECORD_OCTETS
