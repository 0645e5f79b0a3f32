// Runs a libFuzzer target without libFuzzer, as an ordinary test: every file of the corpus folders
// named on the command line, then mutations of them (or of nothing) from a fixed seed.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes mutate(Bytes bytes, std::mt19937_64& random) {
    const std::size_t count = 1 + random() % 8;
    for (std::size_t i = 0; i < count; ++i) {
        const std::size_t at = bytes.empty() ? 0 : random() % bytes.size();
        switch (random() % 4) {
            case 0:
                if (!bytes.empty()) bytes[at] = static_cast<std::uint8_t>(random());
                break;
            case 1:
                bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                             static_cast<std::uint8_t>(random()));
                break;
            case 2:
                if (!bytes.empty()) bytes.resize(at);
                break;
            default:
                if (!bytes.empty()) bytes[at] ^= static_cast<std::uint8_t>(1U << (random() % 8));
        }
    }
    return bytes;
}

}  // namespace

int main(int argc, char** argv) {
    std::vector<Bytes> corpus = {{}};
    for (int i = 1; i < argc; ++i) {
        if (!std::filesystem::is_directory(argv[i])) continue;
        for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
            std::ifstream file(entry.path(), std::ios::binary);
            corpus.emplace_back(std::istreambuf_iterator<char>(file),
                                std::istreambuf_iterator<char>());
        }
    }
    for (const Bytes& input : corpus) LLVMFuzzerTestOneInput(input.data(), input.size());

    std::mt19937_64 random(1);
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
    std::size_t run_count = corpus.size();
    for (; std::chrono::steady_clock::now() < end && run_count < 20000; ++run_count) {
        const Bytes input = mutate(corpus[random() % corpus.size()], random);
        LLVMFuzzerTestOneInput(input.data(), input.size());
    }
    std::printf("%zu inputs, no finding\n", run_count);
}
