#include "main/cluster_flags.h"

#include <algorithm>
#include <cstdlib>
#include <format>
#include <memory>
#include <string_view>
#include <utility>

#include "device/cpu_topology.h"
#include "device/device.h"
#include "engine/micro_batch.h"
#include "engine/open_shard.h"
#include "engine/self_test_needs.h"
#include "main/cluster_figures.h"
#include "main/core_sharing.h"
#include "main/program.h"
#include "main/state_folder.h"
#include "main/terminal.h"
#include "model/printable.h"
#include "placement/choose_split.h"
#include "runner/child_runner_host.h"
#include "runner/choose_cluster.h"
#include "runner/cluster.h"
#include "runner/messages.h"
#include "runner/thread_runner_host.h"

namespace exomesh::main {

namespace {

struct Ranks {
    std::uint32_t local_count = 1;  // this process included, where it computes
    std::vector<runner::WorkerAddress> peers = {};
};

// Asked again for each set of ranks: what is chosen for one is nothing to another.
CoreSharing sharing_of(const Ranks& ranks, const std::vector<std::string>& devices,
                       std::uint32_t thread_count) {
    return share_cores(ranks.local_count, static_cast<std::uint32_t>(ranks.peers.size()), devices,
                       thread_count, device::physical_core_count());
}

// Who the ranks are: those of this machine, and then the peers.
Result<Ranks> ranks_of(const ClusterFlags& flags, const runner::Split& split) {
    Ranks ranks;
    for (const std::string& text : flags.peers) {
        EXO_TRY_ASSIGN(runner::WorkerAddress peer, runner::parse_worker_address(text));
        if (std::ranges::contains(ranks.peers, peer.peer_id, &runner::WorkerAddress::peer_id)) {
            return fail(ErrorCode::invalid_argument,
                        std::format("the worker {} is named twice.", peer.peer_id.text()),
                        "Each worker is one rank.");
        }
        ranks.peers.push_back(std::move(peer));
    }
    ranks.local_count = std::max(1U, flags.local_count);
    const auto needed = runner::rank_count_of(split);
    if (flags.local_count > 0 || !needed) return ranks;
    if (*needed <= ranks.peers.size()) {
        return fail(ErrorCode::invalid_argument,
                    std::format("the split makes {} ranks, and there are {} peers.", *needed,
                                ranks.peers.size()),
                    "Its first rank is on this machine; the peers are its last ones.");
    }
    if (*needed > runner::rank_count_max) {
        return fail(ErrorCode::invalid_argument,
                    std::format("the split makes {} ranks; {} are possible.", *needed,
                                runner::rank_count_max));
    }
    ranks.local_count = *needed - static_cast<std::uint32_t>(ranks.peers.size());
    return ranks;
}

// What each rank computes on; empty: what --device says for all.
Result<std::vector<std::string>> ranks_devices(const ClusterFlags& flags,
                                               const runner::Split& split,
                                               const std::string& usual) {
    std::vector<std::string> devices = runner::devices_of(split);
    if (devices.empty()) return flags.devices;
    if (!flags.devices.empty()) {
        return fail(ErrorCode::invalid_argument,
                    "a split that names layers names the devices, too.", "Leave --devices out.");
    }
    std::ranges::replace(devices, std::string(), usual);
    return devices;
}

std::shared_ptr<runner::RunnerHost> make_host(bool is_in_process) {
    if (is_in_process) return std::make_shared<runner::ThreadRunnerHost>();
    return std::make_shared<runner::ChildRunnerHost>(own_program());
}

// What a cluster is opened with, each time anew.
struct Opening {
    runner::ClusterOptions cluster;  // without the workers
    Ranks ranks;
    std::shared_ptr<runner::RunnerHost> host;
    std::function<void(const ClusterShape&)> on_choice;
};

// Says so for every cluster; unlike the flag it may be there where there is none.
bool is_set(const char* variable) {
    const char* value = std::getenv(variable);
    return value != nullptr && std::string_view(value) == "1";
}

// What --split auto decides is not to be said, and what it needs is.
Result<void> check_choice(const ClusterFlags& flags, std::size_t rank_count) {
    if (!flags.shares.empty()) {
        return fail(ErrorCode::invalid_argument, "--split auto chooses the shares itself.",
                    "Leave --shares out, or name the split.");
    }
    if (!flags.devices.empty() && flags.devices.size() != rank_count) {
        return fail(ErrorCode::invalid_argument,
                    std::format("{} of the devices were given for {} ranks.", flags.devices.size(),
                                rank_count),
                    "Name one for each rank, in their order.");
    }
    return {};
}

// There is one rank, so that nothing may say what several are to do.
Result<void> check_alone(const ClusterFlags& flags) {
    const ClusterFlags none;
    if (flags.split.empty() && flags.wire == none.wire && flags.shares.empty() &&
        flags.devices.empty() && flags.overlap == none.overlap && flags.figures.empty() &&
        !flags.checks_sums) {
        return {};
    }
    return fail(ErrorCode::invalid_argument,
                "--split, --shares, --devices, --wire, --overlap, --cluster-figures and "
                "--check-sums are for several ranks.",
                "Say which: --local N for processes of this machine, --peers for others.");
}

// Keeps the ranks that were chosen, and says why.
Result<void> choose(Opening& opening, const engine::ModelFile& model,
                    const engine::EngineOptions& options) {
    runner::ClusterOptions& cluster = opening.cluster;
    opening.host->stop();  // ranks of before would take their part of what is measured
    runner::RankCandidate here;
    if (cluster.is_head_idle) {
        EXO_TRY(opening.host->start(1, cluster.identity.peer_id()));
        here.measured_by = opening.host->addresses().front();
    }
    std::vector<runner::RankCandidate> candidates(opening.ranks.local_count, here);
    for (const runner::WorkerAddress& peer : opening.ranks.peers) {
        candidates.push_back({.device = "", .worker = peer});
    }
    for (std::size_t rank = 0; rank < candidates.size(); ++rank) {
        candidates[rank].device = cluster.devices.empty() ? options.device : cluster.devices[rank];
    }
    EXO_TRY_ASSIGN(
        const placement::SplitChoice choice,
        runner::choose_cluster(model, options, cluster.identity, candidates, cluster.wire));
    // Workers name their devices.
    print_note(styled(Style::faint, model::printable(placement::choice_text(choice))) + "\n");
    runner::ChosenRanks chosen = runner::chosen_ranks(choice, candidates);
    cluster.split = std::move(chosen.split);
    cluster.shares = std::move(chosen.shares);
    cluster.devices = std::move(chosen.devices);
    opening.ranks = {.local_count = chosen.local_count, .peers = std::move(chosen.peers)};
    if (opening.on_choice) {
        const CoreSharing sharing =
            sharing_of(opening.ranks, cluster.devices, options.thread_count);
        opening.on_choice({.rank_count = static_cast<std::uint32_t>(choice.ranks.size()),
                           .thread_count = sharing.thread_counts.front(),
                           .split = placement::choice_name(choice)});
    }
    return {};
}

// Starts the local ranks and opens what was decided.
Result<engine::OpenedShard> open_decided(Opening& opening, const engine::ModelFile& model,
                                         const engine::EngineOptions& options) {
    runner::ClusterOptions& cluster = opening.cluster;
    const std::size_t rank_count = opening.ranks.local_count + opening.ranks.peers.size();
    if (cluster.devices.empty() || cluster.devices.size() == rank_count) {
        CoreSharing sharing = sharing_of(opening.ranks, cluster.devices, options.thread_count);
        cluster.thread_counts = std::move(sharing.thread_counts);
        if (sharing.spin_us) cluster.spin_us = *sharing.spin_us;
    }
    const std::uint32_t count = opening.ranks.local_count - (cluster.is_head_idle ? 0 : 1);
    EXO_TRY(opening.host->start(count, cluster.identity.peer_id()));
    cluster.workers = opening.host->addresses();
    cluster.workers.insert(cluster.workers.end(), opening.ranks.peers.begin(),
                           opening.ranks.peers.end());
    cluster.explain_loss = [host = opening.host, count](std::size_t rank) {
        return rank <= count ? host->explain_loss(rank - 1) : std::string();
    };
    return runner::open_cluster(model, options, cluster);
}

// The whole model in one child process. As engine::open_shard() does in this one: the CPU takes
// what a device cannot that nobody named.
Result<engine::OpenedShard> open_apart(Opening& opening, const engine::ModelFile& model,
                                       const engine::EngineOptions& options) {
    auto& registry = device::DeviceRegistry::instance();
    EXO_TRY_ASSIGN(
        device::Choice choice,
        registry.choose(options.device, engine::self_test_groups_for(model, options.cache_type)));
    const bool is_cpu = choice.device.facts.kind == device::DeviceKind::cpu;
    opening.cluster.devices = {choice.device.facts.id};
    auto opened = open_decided(opening, model, options);
    if (!opened && options.device == "auto" && !is_cpu) {
        choice.reason = choice.device.facts.id +
                        " could not take the model: " + opened.error().message +
                        " The CPU computes instead.";
        opening.cluster.devices = {"cpu"};
        opened = open_decided(opening, model, options);
    }
    if (opened) opened->information.device_reason = choice.reason;
    return opened;
}

Result<engine::OpenedShard> open_ranks(Opening opening, const engine::ModelFile& model,
                                       const engine::EngineOptions& options) {
    runner::ClusterOptions& cluster = opening.cluster;
    engine::EngineOptions chosen = options;
    if (cluster.split.kind == runner::SplitKind::automatic) {
        EXO_TRY(choose(opening, model, options));
    }
    const std::size_t rank_count = opening.ranks.local_count + opening.ranks.peers.size();
    if (rank_count > 1) return open_decided(opening, model, options);
    EXO_TRY(
        runner::plan_ranks(model, cluster.split, 1, cluster.shares));  // it may be no whole model
    if (!cluster.devices.empty()) chosen.device = cluster.devices.front();
    if (!cluster.is_head_idle) return engine::open_shard(model, chosen);
    return open_apart(opening, model, chosen);
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
                    "workers on other machines, the last ranks: HOST:PORT/PEERID,... as `exomesh "
                    "worker` prints it there")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->group(group);
    command
        .add_option("--split", flags.split,
                    "auto (measures devices and links, and takes what is fastest), tensor (all "
                    "share every layer; the default), pipeline (layers in turn), 2x2 "
                    "(two stages of two), or each stage's layers and devices: \"0-11:cpu "
                    "12-29:cpu*0.4+vulkan0*0.6\"")
        ->group(group);
    command
        .add_option("--shares", flags.shares,
                    "each rank's share, those of this machine first: 0.5,0.3,0.2 (default: equal)")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->group(group);
    command
        .add_option("--devices", flags.devices,
                    "each rank's device, those of this machine first: cpu,vulkan0")
        ->delimiter(',')
        ->allow_extra_args(false)
        ->group(group);
    command.add_option("--wire", flags.wire, "what travels between ranks: q8 (rounds), f16 or f32")
        ->check(CLI::IsMember({"q8", "f16", "f32"}))
        ->capture_default_str()
        ->group(group);
    command
        .add_option("--overlap", flags.overlap,
                    "prompts of a tensor split are computed in two halves, so that one computes "
                    "while the other's sums travel: on, off, or auto (where the links make it "
                    "worth it)")
        ->check(CLI::IsMember({"on", "off", "auto"}))
        ->capture_default_str()
        ->group(group);
    command
        .add_flag("--in-process", flags.is_in_process,
                  "local ranks are threads of this process: what ends one ends all")
        ->group(group);
    add_figures_flag(command, flags)->group(group);
    command
        .add_flag("--check-sums", flags.checks_sums,
                  "ranks compare their sums in every step, as with EXOMESH_CHECK_SUMS=1")
        ->group("");
}

bool wants_cluster(const ClusterFlags& flags) {
    return flags.local_count > 1 || !flags.peers.empty() || !flags.split.empty();
}

Result<ClusterShape> use_cluster(const ClusterFlags& flags, engine::EngineOptions& options,
                                 std::function<void(const ClusterShape&)> on_choice) {
    EXO_TRY_ASSIGN(const runner::Split split,
                   runner::parse_split(flags.split.empty() ? "tensor" : flags.split));
    const bool is_head_idle = flags.is_head_idle && !flags.is_in_process;
    if (flags.local_count <= 1 && flags.peers.empty() && !runner::rank_count_of(split)) {
        EXO_TRY(check_alone(flags));
        if (!is_head_idle) return ClusterShape{.thread_count = options.thread_count};
    }
    EXO_TRY_ASSIGN(const Ranks ranks, ranks_of(flags, split));
    EXO_TRY_ASSIGN(const runner::WireType wire, runner::parse_wire_type(flags.wire));
    EXO_TRY_ASSIGN(std::vector<std::string> devices, ranks_devices(flags, split, options.device));
    EXO_TRY_ASSIGN(net::Identity identity,
                   ranks.peers.empty() ? net::Identity::generate() : kept_identity());
    runner::ClusterOptions cluster{.identity = std::move(identity),
                                   .workers = {},
                                   .is_head_idle = is_head_idle,
                                   .split = split,
                                   .shares = flags.shares,
                                   .devices = std::move(devices),
                                   .wire = wire};
    const std::size_t rank_count = ranks.local_count + ranks.peers.size();
    if (split.kind == runner::SplitKind::automatic) EXO_TRY(check_choice(flags, rank_count));
    record_as_asked(flags, cluster);
    cluster.checks_sums = flags.checks_sums || is_set("EXOMESH_CHECK_SUMS");
    if (flags.overlap == "on") cluster.overlap_tokens_min = engine::micro_batch_tokens_min;
    if (flags.overlap == "off") cluster.overlap_tokens_min = 0;
    cluster.on_links = flags.on_links;
    ClusterShape shape{.rank_count = static_cast<std::uint32_t>(rank_count),
                       .thread_count = options.thread_count,
                       .split = flags.split.empty() ? "tensor" : flags.split};
    if (cluster.devices.empty() || cluster.devices.size() == rank_count) {
        shape.thread_count =
            sharing_of(ranks, cluster.devices, options.thread_count).thread_counts.front();
    }
    options.open =
        [opening = Opening{cluster, ranks, make_host(flags.is_in_process), std::move(on_choice)}](
            const engine::ModelFile& model, const engine::EngineOptions& opened) {
            return open_ranks(opening, model, opened);
        };
    return shape;
}

}  // namespace exomesh::main
