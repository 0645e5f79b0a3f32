#include "main/cluster_flags.h"

#include <format>
#include <memory>
#include <thread>
#include <utility>

#include "main/program.h"
#include "main/state_folder.h"
#include "main/terminal.h"
#include "runner/cluster.h"
#include "runner/local_workers.h"

namespace exomesh::main {

namespace {

void print_statistics(const runner::ClusterStatistics& statistics) {
    const auto steps = static_cast<double>(statistics.step_count);
    print_note(styled(
        Style::faint,
        std::format("[{} steps; each {:.2f} ms, of it {:.2f} ms in sums over ranks and {:.2f} ms "
                    "waiting for logits; {:.1f} KiB sent, {:.1f} KiB received]\n",
                    statistics.step_count, static_cast<double>(statistics.step_us) / steps / 1e3,
                    static_cast<double>(statistics.reduce_us) / steps / 1e3,
                    static_cast<double>(statistics.wait_us) / steps / 1e3,
                    static_cast<double>(statistics.sent_bytes) / steps / 1024,
                    static_cast<double>(statistics.received_bytes) / steps / 1024)));
}

// Ranks on this machine share its cores.
void share_cores(std::uint32_t local_count, engine::EngineOptions& options,
                 runner::ClusterOptions& cluster) {
    const std::uint32_t cores = std::max(1U, std::thread::hardware_concurrency());
    if (options.thread_count == 0) options.thread_count = std::max(1U, cores / local_count);
    // A rank that spins while another waits for its core makes both slow.
    if (options.thread_count * local_count > cores) cluster.spin_us = 0;
}

}  // namespace

void add_cluster_flags(CLI::App& command, ClusterFlags& flags) {
    const std::string group = "Several devices";
    command
        .add_option("--local", flags.local_count,
                    "processes on this machine that share the model, this one included")
        ->check(CLI::Range(1U, 64U))
        ->group(group);
    command
        .add_option("--peers", flags.peers,
                    "workers on other machines: HOST:PORT/PEERID,... as `exomesh worker` prints it")
        ->delimiter(',')
        ->group(group);
    command
        .add_option("--split", flags.split,
                    "tensor (all share every layer), pipeline (layers in turn), or 2x2: two stages "
                    "of two")
        ->capture_default_str()
        ->group(group);
    command
        .add_option("--shares", flags.shares,
                    "each rank's share, this process first: 0.5,0.3,0.2 (default: equal)")
        ->delimiter(',')
        ->group(group);
    command
        .add_option("--devices", flags.devices,
                    "each rank's device, this process first: cpu,vulkan0")
        ->delimiter(',')
        ->group(group);
    command.add_option("--wire", flags.wire, "what travels between ranks: q8 (rounds), f16 or f32")
        ->check(CLI::IsMember({"q8", "f16", "f32"}))
        ->capture_default_str()
        ->group(group);
    command.add_flag("--cluster-figures", flags.is_verbose, "say at the end what the ranks spent")
        ->group(group);
}

Result<void> use_cluster(const ClusterFlags& flags, engine::EngineOptions& options) {
    if (flags.local_count <= 1 && flags.peers.empty()) {
        const ClusterFlags none;
        if (flags.split == none.split && flags.wire == none.wire && flags.shares.empty() &&
            flags.devices.empty()) {
            return {};
        }
        return fail(ErrorCode::invalid_argument,
                    "--split, --shares, --devices and --wire are for several ranks.",
                    "Say which: --local N for processes of this machine, --peers for others.");
    }
    EXO_TRY_ASSIGN(const runner::Split split, runner::parse_split(flags.split));
    EXO_TRY_ASSIGN(const runner::WireType wire, runner::parse_wire_type(flags.wire));
    std::vector<runner::WorkerAddress> peers;
    for (const std::string& text : flags.peers) {
        EXO_TRY_ASSIGN(runner::WorkerAddress peer, runner::parse_worker_address(text));
        peers.push_back(std::move(peer));
    }
    EXO_TRY_ASSIGN(net::Identity identity, peers.empty()
                                               ? net::Identity::generate()
                                               : net::Identity::load_or_generate(state_folder()));
    runner::ClusterOptions cluster{.identity = std::move(identity),
                                   .workers = {},
                                   .split = split,
                                   .shares = flags.shares,
                                   .devices = flags.devices,
                                   .wire = wire};
    share_cores(flags.local_count, options, cluster);
    if (flags.is_verbose) cluster.on_close = print_statistics;
    options.open = [cluster, peers, count = flags.local_count - 1](
                       const engine::ModelFile& model,
                       const engine::EngineOptions& opened) -> Result<engine::OpenedShard> {
        // A copy for each opening: its workers end with what it opened.
        runner::ClusterOptions own = cluster;
        EXO_TRY_ASSIGN(const auto local,
                       runner::LocalWorkers::start(own_program(), count, own.identity.peer_id()));
        own.workers = local->addresses();
        own.workers.insert(own.workers.end(), peers.begin(), peers.end());
        own.explain_loss = [local](std::size_t rank) {
            return rank <= local->addresses().size() ? local->explain_loss(rank) : std::string();
        };
        return runner::open_cluster(model, opened, own);
    };
    return {};
}

}  // namespace exomesh::main
