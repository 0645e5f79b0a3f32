#include "runner/model_content.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <format>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

#include "base/assert.h"
#include "device/cache_file.h"
#include "platform/boot_id.h"

namespace exomesh::runner {

namespace {

constexpr unsigned int hash_thread_count_max = 8;
constexpr std::size_t digest_bytes = 32;
using Digest = std::array<unsigned char, digest_bytes>;

Digest digest_of(std::span<const std::byte> bytes) {
    Digest digest{};
    const int hashed =
        EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
    EXO_ASSERT(hashed == 1);
    return digest;
}

std::string compute(const engine::ModelFile& model) {
    const auto bytes = model.file.bytes();
    std::vector<Digest> digests((bytes.size() + content_chunk_bytes - 1) / content_chunk_bytes);
    std::atomic<std::size_t> next = 0;
    const auto work = [&] {
        for (std::size_t i = next++; i < digests.size(); i = next++) {
            const std::size_t begin = i * content_chunk_bytes;
            const std::size_t size = std::min(content_chunk_bytes, bytes.size() - begin);
            digests[i] = digest_of(bytes.subspan(begin, size));
            model.file.drop(begin, size);  // a rank needs a part of the file alone
        }
    };
    {
        std::vector<std::jthread> threads;
        const unsigned int count =
            std::clamp(std::thread::hardware_concurrency(), 1U, hash_thread_count_max);
        for (unsigned int i = 1; i < count; ++i) threads.emplace_back(work);
        work();
    }
    std::string text;
    for (const unsigned char byte : digest_of(std::as_bytes(std::span(digests)))) {
        text += std::format("{:02x}", byte);
    }
    return text;
}

std::string state_of(const platform::FileStamp& stamp) {
    return std::format("{}-{}-{}-{}-{}", stamp.device, stamp.inode, stamp.size_bytes,
                       stamp.modified_ns, stamp.changed_ns);
}

}  // namespace

std::string model_stamp(const engine::ModelFile& model) {
    const std::string boot = platform::boot_id();
    return boot.empty() ? "" : boot + "-" + state_of(model.file.stamp());
}

std::string content_checksum(const engine::ModelFile& model, const std::string& cache_folder) {
    const platform::FileStamp& stamp = model.file.stamp();
    const std::string path =
        device::cache_path(cache_folder, std::format("{}-{}", stamp.device, stamp.inode));
    const std::string head = state_of(stamp) + " ";
    const auto cached = device::read_cache(path);
    if (cached && cached->text.starts_with(head) &&
        cached->text.size() == head.size() + 2 * digest_bytes) {
        return cached->text.substr(head.size());
    }
    std::string checksum = compute(model);
    device::write_cache(path, head + checksum);
    return checksum;
}

std::string content_cache_folder() {
    return device::cache_folder("model-checksums");
}

}  // namespace exomesh::runner
