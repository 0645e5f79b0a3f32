// One rank at work: its shard, its links, and what it does in a step.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "device/device.h"
#include "engine/model_file.h"
#include "engine/shard.h"
#include "runner/compute_watch.h"
#include "runner/links.h"
#include "runner/messages.h"
#include "runner/sum_check.h"
#include "runner/tensor_group.h"

namespace exomesh::runner {

// Everything happens on one thread, that of create().
class Member {
  public:
    // Loads the slice. `model`, `links` (open) and `watch`, which is told when the device computes,
    // must outlive the member.
    [[nodiscard]] static Result<std::unique_ptr<Member>> create(
        const engine::ModelFile& model, const LoadRequest& request, Links& links,
        std::function<void(double)> on_progress, ComputeWatch* watch = nullptr);

    // Takes the states from the stage before, computes, passes states on. Result: the logits of
    // this rank's vocabulary rows in the last stage, else empty. Valid until the next call.
    [[nodiscard]] Result<std::span<const float>> compute(std::span<const engine::SlotTokens> batch,
                                                         net::Deadline deadline);

    [[nodiscard]] Result<void> copy_slot(const CopySlot& copy);

    // One sum over this rank's tensor group, outside of a step: all its ranks must do the same.
    [[nodiscard]] Result<void> sum(std::span<float> values, net::Deadline deadline);

    [[nodiscard]] const engine::Shard& shard() const { return *shard_; }
    [[nodiscard]] const std::string& device_id() const { return device_id_; }
    [[nodiscard]] device::DeviceKind device_kind() const { return device_kind_; }
    [[nodiscard]] std::uint32_t embedding_length() const { return embedding_length_; }

  private:
    Member(const LoadRequest& request, Links& links, ComputeWatch* watch);
    [[nodiscard]] Result<std::span<const float>> compute_states();
    [[nodiscard]] Result<void> receive_states(std::size_t token_count, net::Deadline deadline);
    [[nodiscard]] Result<void> send_states(std::span<const float> states, net::Deadline deadline);

    const LoadRequest request_;
    Links* links_;
    ComputeWatch* watch_;  // nullptr where nobody watches
    TensorGroup group_;
    std::optional<SumCheck> check_;  // where the request asks for it
    std::unique_ptr<engine::Shard> shard_;
    std::string device_id_;
    device::DeviceKind device_kind_ = device::DeviceKind::cpu;
    std::uint32_t embedding_length_ = 0;
    // Of the head, to the last stage: it may have to get rid of an output before it takes states,
    // and until then the stages before it take none either.
    std::vector<net::DataLink*> output_links_;
    bool is_last_stage_ = false;
    bool is_leader_ = false;
    std::vector<engine::SlotTokens> batch_;
    std::vector<float> states_;
    std::vector<std::byte> encoded_;
};

}  // namespace exomesh::runner
