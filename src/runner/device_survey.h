// Finds what a rank's device can do, for who chooses a split; and asks a worker for it over its
// control link, before it is told to load anything.
#pragma once

#include <atomic>
#include <cstddef>
#include <span>
#include <string>

#include "base/result.h"
#include "device/device.h"
#include "net/data_link.h"
#include "net/tls_context.h"
#include "runner/all_reduce_cost.h"
#include "runner/messages.h"
#include "runner/worker_address.h"

namespace exomesh::runner {

// Of a device of this machine, "auto" too. Takes some 0.3 s unless `doctor --bench` has kept what
// the device does; a GPU's first self-test comes before it, and can take minutes. unsupported: the
// device cannot be measured.
[[nodiscard]] Result<DeviceSurvey> survey_device(const SurveyQuestion& question);

// DeviceSurvey::processor. Containers of one machine number their GPUs each for itself: the address
// on the bus tells these apart.
[[nodiscard]] std::string processor_name(const std::string& boot_id,
                                         const device::DeviceFacts& facts);

struct WorkerSurvey {
    DeviceSurvey device;
    LinkFigures link;
};

// Connects to a worker, measures the link and asks for its device; the worker is free again after
// it. Waits as long as the worker says that it is at it. An error of the worker itself is passed
// on. Errors do not name it: who asks knows its rank.
[[nodiscard]] Result<WorkerSurvey> survey_worker(const WorkerAddress& worker,
                                                 const net::TlsContext& tls,
                                                 const SurveyQuestion& question);

// The worker's answer to MessageType::survey: progress while the device is tested and measured, on
// a thread of its own, then what it can do. Errors are to be told to the head: cancelled where
// `is_stopping`, and others, come when the device is done with what it does.
[[nodiscard]] Result<void> answer_survey(net::DataLink& control, std::span<const std::byte> payload,
                                         const std::atomic<bool>& is_stopping);

}  // namespace exomesh::runner
