"""What may be believed of a FISCO BCOS 3 chain with national cryptography, as pure functions.

Written from that project's public material, none of it copied: header, transaction and receipt
hashes after `bcos-tars-protocol/bcos-tars-protocol/impl/TarsHashable.h`, their JSON after
`bcos-rpc/bcos-rpc/jsonrpc/JsonRpcImpl_2_0.cpp`, proofs after
`bcos-crypto/bcos-crypto/merkle/Merkle.h`, SM2 after `bcos-crypto/bcos-crypto/signature`, the quorum
after `bcos-pbft/bcos-pbft/pbft` (`PBFTConfig.cpp`, `BlockValidator.cpp`), versions after
`bcos-framework/bcos-framework/protocol/Protocol.h`, all of the repository FISCO-BCOS/FISCO-BCOS.

That chain hashes fields one behind the other without lengths. What a hash covers is therefore read
only in forms whose borders cannot be moved, and what cannot be told apart is not told apart.
"""
