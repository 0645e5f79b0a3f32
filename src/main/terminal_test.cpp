#include "main/terminal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <string>
#include <thread>

namespace exomesh::main {
namespace {

class Pipe {
  public:
    explicit Pipe(const std::string& content) {
        int ends[2];
        EXPECT_EQ(::pipe(ends), 0);
        EXPECT_EQ(::write(ends[1], content.data(), content.size()),
                  static_cast<ssize_t>(content.size()));
        ::close(ends[1]);
        read_end_ = ends[0];
    }
    ~Pipe() { ::close(read_end_); }
    [[nodiscard]] int read_end() const { return read_end_; }

  private:
    int read_end_ = -1;
};

TEST(Fit, CutsTheLabelBeforeTheText) {
    EXPECT_EQ(fit("load model", " [==] 50 %", 80), "load model [==] 50 %");
    EXPECT_EQ(fit("load model", " [==] 50 %", 16), "load  [==] 50 %");
    EXPECT_EQ(fit("load model", " [==] 50 %", 6), " [==]");
    EXPECT_EQ(fit("load model", " [==] 50 %", 0), "");
    EXPECT_EQ(fit("caf\xC3\xA9", "!", 6), "caf!");  // not half of the accented letter
}

TEST(LineReader, GivesEveryLineThenTheEnd) {
    const Pipe pipe("first\n\nlast without newline");
    LineReader reader(pipe.read_end());
    EXPECT_EQ(reader.next().text, "first");
    EXPECT_EQ(reader.next().text, "");
    const LineReader::Line last = reader.next();
    EXPECT_EQ(last.status, LineReader::Status::line);
    EXPECT_EQ(last.text, "last without newline");
    EXPECT_EQ(reader.next().status, LineReader::Status::end);
    EXPECT_EQ(reader.next().status, LineReader::Status::end);
}

TEST(LineReader, ReadsLinesLongerThanOneRead) {
    const std::string longer(20000, 'x');
    const Pipe pipe(longer + "\nnext\n");
    LineReader reader(pipe.read_end());
    EXPECT_EQ(reader.next().text, longer);
    EXPECT_EQ(reader.next().text, "next");
}

TEST(LineReader, ASignalBeforeTheReadEndsIt) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);  // nothing ever comes
    LineReader reader(ends[0]);
    {
        InterruptScope interrupt;
        ::raise(SIGINT);
        EXPECT_EQ(reader.next().status, LineReader::Status::interrupted);
    }
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST(LineReader, ASignalThatAnotherThreadGetsEndsTheRead) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    LineReader reader(ends[0]);
    {
        InterruptScope interrupt;
        std::thread other([] {
            ::usleep(50'000);
            ::pthread_kill(::pthread_self(), SIGINT);
        });
        EXPECT_EQ(reader.next().status, LineReader::Status::interrupted);
        other.join();
    }
    ::close(ends[0]);
    ::close(ends[1]);
}

TEST(InterruptScope, ASecondSignalEndsTheProgram) {
    const auto interrupt_twice = [](int first, int second) {
        const InterruptScope interrupt;
        ::raise(first);
        ::usleep(signal_repeat_us + 50'000);
        ::raise(second);
    };
    EXPECT_EXIT(interrupt_twice(SIGINT, SIGINT), testing::KilledBySignal(SIGINT), "");
    EXPECT_EXIT(interrupt_twice(SIGINT, SIGTERM), testing::KilledBySignal(SIGTERM), "");
}

TEST(InterruptScope, ForgetsCtrlCButNotSigterm) {
    InterruptScope interrupt;
    EXPECT_EQ(interrupt.signal_number(), 0);
    ::raise(SIGINT);
    EXPECT_EQ(interrupt.signal_number(), SIGINT);
    interrupt.reset();
    EXPECT_EQ(interrupt.signal_number(), 0);
    ::raise(SIGTERM);
    interrupt.reset();
    EXPECT_EQ(interrupt.signal_number(), SIGTERM);
    EXPECT_EQ(interrupt.count(), 1);
}

TEST(InterruptScope, CountsSignalsWhileItLives) {
    {
        InterruptScope interrupt;
        EXPECT_EQ(interrupt.count(), 0);
        ::raise(SIGINT);
        ::raise(SIGINT);
        EXPECT_EQ(interrupt.count(), 2);
        interrupt.reset();
        EXPECT_EQ(interrupt.count(), 0);
    }
    EXPECT_EXIT(::raise(SIGINT), testing::KilledBySignal(SIGINT), "");
}

TEST(PrintEvent, LetsNobodySpeakToTheTerminal) {
    ::testing::internal::CaptureStderr();
    print_event(
        "head \033[31mred\r\n\xC2\x9B"
        "2J caf\xC3\xA9");
    EXPECT_EQ(::testing::internal::GetCapturedStderr(), "head ?[31mred???2J caf\xC3\xA9\n");
}

TEST(Styled, IsPlainWhereStderrIsNoTerminal) {
    if (is_terminal(Stream::error)) GTEST_SKIP() << "stderr is a terminal";
    EXPECT_EQ(styled(Style::error, "text"), "text");
}

}  // namespace
}  // namespace exomesh::main
