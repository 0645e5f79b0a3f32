// Finds what a rank's device can do, for who chooses a split; and asks a worker for it over its
// control link, before it is told to load anything.
#pragma once

#include <cstddef>
#include <span>

#include "base/result.h"
#include "net/data_link.h"
#include "net/tls_context.h"
#include "runner/all_reduce_cost.h"
#include "runner/messages.h"
#include "runner/worker_address.h"

namespace exomesh::runner {

// Of a device of this machine, "auto" too. Takes some 0.3 s unless `doctor --bench` has kept what
// the device does. unsupported: the device cannot be measured.
[[nodiscard]] Result<DeviceSurvey> survey_device(const SurveyQuestion& question);

struct WorkerSurvey {
    DeviceSurvey device;
    LinkFigures link;
};

// Connects to a worker, measures the link and asks for its device; the worker is free again after
// it. An error of the worker itself is passed on. Errors do not name it: who asks knows its rank.
[[nodiscard]] Result<WorkerSurvey> survey_worker(const WorkerAddress& worker,
                                                 const net::TlsContext& tls,
                                                 const SurveyQuestion& question);

// The worker's answer to MessageType::survey. Errors are to be told to the head.
[[nodiscard]] Result<void> answer_survey(net::DataLink& control,
                                         std::span<const std::byte> payload);

}  // namespace exomesh::runner
