// How this device speaks TLS on data links: 1.3 alone, both sides with a libp2p certificate, no
// tickets, ALPN "exomesh-data/1", AES-128-GCM where the CPU has AES and ChaCha20-Poly1305
// elsewhere.
#pragma once

#include <memory>

#include "base/result.h"
#include "net/identity.h"
#include "platform/cpu.h"

struct ssl_ctx_st;

namespace exomesh::net {

// Made once per process and shared by its links; copies are cheap. Safe to use from any thread.
class TlsContext {
  public:
    // Makes a fresh certificate for the identity. Two devices take the cipher that suits the one
    // without AES.
    [[nodiscard]] static Result<TlsContext> create(
        const Identity& identity, platform::AesSupport aes = platform::aes_support());

    [[nodiscard]] const PeerId& own_id() const { return own_id_; }
    [[nodiscard]] ssl_ctx_st* native() const { return context_.get(); }

  private:
    TlsContext(std::shared_ptr<ssl_ctx_st> context, PeerId own_id)
        : context_(std::move(context)), own_id_(std::move(own_id)) {}
    std::shared_ptr<ssl_ctx_st> context_;
    PeerId own_id_;
};

}  // namespace exomesh::net
