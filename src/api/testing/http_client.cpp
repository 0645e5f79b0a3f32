#include "api/testing/http_client.h"

#include <array>
#include <charconv>
#include <format>

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

namespace exomesh::api {

namespace asio = boost::asio;

HttpClient::HttpClient(std::uint16_t port) {
    socket_.connect({asio::ip::make_address("127.0.0.1"), port});
}

void HttpClient::send(std::string_view bytes) {
    boost::system::error_code ignored;  // a server may refuse before it has read all
    asio::write(socket_, asio::buffer(bytes), ignored);
}

bool HttpClient::read_some() {
    std::array<char, 65536> bytes;
    boost::system::error_code error;
    const std::size_t count = socket_.read_some(asio::buffer(bytes), error);
    received_.append(bytes.data(), count);
    return !error;
}

std::string HttpClient::take(std::size_t count) {
    while (received_.size() < count && read_some()) {
    }
    std::string taken = received_.substr(0, count);
    received_.erase(0, count);
    return taken;
}

std::string HttpClient::receive_until(std::string_view text) {
    std::size_t at = received_.find(text);
    while (at == std::string::npos && read_some()) at = received_.find(text);
    return take(at == std::string::npos ? received_.size() : at + text.size());
}

std::string HttpClient::receive_all() {
    while (read_some()) {
    }
    return take(received_.size());
}

std::string HttpClient::take_chunks() {
    std::string body;
    for (;;) {
        const std::string line = receive_until("\r\n");
        std::size_t size = 0;
        std::from_chars(line.data(), line.data() + line.size(), size, 16);
        const std::string chunk = take(size + 2);
        if (size == 0 || chunk.size() < size) return body;
        body += chunk.substr(0, size);
    }
}

HttpAnswer HttpClient::receive() {
    HttpAnswer answer;
    answer.head = receive_until("\r\n\r\n");
    if (answer.head.size() < 12) return answer;
    std::from_chars(answer.head.data() + 9, answer.head.data() + 12, answer.status);
    constexpr std::string_view length_name = "Content-Length: ";
    if (const std::size_t at = answer.head.find(length_name); at != std::string::npos) {
        std::size_t length = 0;
        const char* const digits = answer.head.data() + at + length_name.size();
        std::from_chars(digits, answer.head.data() + answer.head.size(), length);
        answer.body = take(length);
    } else if (answer.head.contains("Transfer-Encoding: chunked")) {
        answer.body = take_chunks();
    }
    return answer;
}

void HttpClient::close() {
    socket_.close();
}

HttpAnswer HttpClient::get(std::string_view target, std::string_view headers) {
    send(std::format("GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n", target, headers));
    return receive();
}

HttpAnswer HttpClient::post(std::string_view target, std::string_view json,
                            std::string_view headers) {
    send(
        std::format("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                    "Content-Length: {}\r\n{}\r\n{}",
                    target, json.size(), headers, json));
    return receive();
}

}  // namespace exomesh::api
