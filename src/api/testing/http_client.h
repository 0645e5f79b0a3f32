// A blocking HTTP client over a raw socket, so that tests see and send exact bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

namespace exomesh::api {

struct HttpAnswer {
    unsigned status = 0;  // 0: the server closed without an answer
    std::string head;     // status line and headers
    std::string body;     // chunks joined
};

class HttpClient {
  public:
    explicit HttpClient(std::uint16_t port);

    void send(std::string_view bytes);
    // The next answer on this connection.
    [[nodiscard]] HttpAnswer receive();
    // Everything up to the server's close.
    [[nodiscard]] std::string receive_all();
    // Bytes until `text` was seen, or all where the server closes first.
    [[nodiscard]] std::string receive_until(std::string_view text);
    void close();

    [[nodiscard]] HttpAnswer get(std::string_view target, std::string_view headers = "");
    [[nodiscard]] HttpAnswer post(std::string_view target, std::string_view json,
                                  std::string_view headers = "");

  private:
    [[nodiscard]] bool read_some();
    [[nodiscard]] std::string take(std::size_t count);
    [[nodiscard]] std::string take_chunks();

    boost::asio::io_context io_;
    boost::asio::ip::tcp::socket socket_{io_};
    std::string received_;
};

}  // namespace exomesh::api
