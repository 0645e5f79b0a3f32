// OpenSSL's objects with owners, and its errors as text. For this module's bodies only.
#pragma once

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace exomesh::net {

template <auto release>
struct Releaser {
    template <typename T>
    void operator()(T* object) const {
        release(object);
    }
};

using KeyPointer = std::unique_ptr<EVP_PKEY, Releaser<EVP_PKEY_free>>;
using DigestContextPointer = std::unique_ptr<EVP_MD_CTX, Releaser<EVP_MD_CTX_free>>;
using CertificatePointer = std::unique_ptr<X509, Releaser<X509_free>>;
using SslPointer = std::unique_ptr<SSL, Releaser<SSL_free>>;

// Bytes as OpenSSL's functions take them, to read and to write.
inline const unsigned char* raw(std::span<const std::byte> bytes) {
    return reinterpret_cast<const unsigned char*>(bytes.data());
}
inline unsigned char* raw_output(std::span<std::byte> bytes) {
    return reinterpret_cast<unsigned char*>(bytes.data());
}

// The oldest error OpenSSL has noted on this thread, in its words; clears all of them.
inline std::string take_openssl_error() {
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
    return reason == nullptr ? "an unknown cause" : reason;
}

}  // namespace exomesh::net
