//! What the compatibility tests share: Java homes, server processes, raw wire clients.
