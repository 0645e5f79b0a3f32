// Runs a syntax tree over variables.
//
// One Interpreter renders one template once. It counts every step (one an expression, more for work
// that grows with the data), so that no template can run, allocate or print without end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "model/chat_template.h"
#include "model/jinja_ast.h"
#include "model/jinja_value.h"

namespace exomesh::model::jinja {

struct Limits {
    std::uint64_t step_count_max = template_step_count_max;
    std::size_t output_bytes_max = template_output_bytes_max;
    // Nested evaluations: a macro that calls itself uses about ten a call.
    std::size_t depth_max = 4 * template_depth_max;
};

// Making a value costs one step for each so many bytes, which bounds memory by the step limit.
inline constexpr std::size_t bytes_per_step = 16;
// Comparing bytes is faster than making them.
inline constexpr std::size_t compared_bytes_per_step = 1024;

struct Scope {
    std::shared_ptr<Scope> parent;
    std::vector<std::pair<NameId, Value>> variables;

    [[nodiscard]] Value* find(NameId name);
    void set(NameId name, Value value);
};

struct Macro {
    std::shared_ptr<const MacroDefinition> definition;
    std::shared_ptr<Scope> scope;  // where it was defined
};

// The state of a running `for`, seen by templates as `loop`.
struct Loop {
    const For* statement = nullptr;
    std::shared_ptr<Scope> scope;  // around the loop
    List items;                    // what is still to come begins at `next`
    std::size_t next = 0;
    bool settled = false;        // the loop's condition was already applied to `items`
    std::optional<Value> ahead;  // the next item, where it was asked for early
    std::optional<Value> previous;
    Value current;
    std::optional<List> changed;  // what loop.changed() last saw
    std::int64_t index0 = -1;
    std::int64_t nesting = 0;  // of recursive loops
};

class Interpreter {
  public:
    Interpreter(const Template& program, const Limits& limits, std::int64_t now_s);

    [[nodiscard]] Result<std::string> render(const Json& variables);

    // What filters, tests, methods and functions need.
    [[nodiscard]] Result<> charge(std::uint64_t step_count);
    [[nodiscard]] Result<> charge_bytes(std::size_t size_bytes);
    // A search that compares `wanted` at every place of `text`.
    [[nodiscard]] Result<> charge_search(std::string_view text, std::string_view wanted);
    // Adds to a text that will become a string value; refuses one above the output limit.
    [[nodiscard]] Result<> append(std::string_view part, std::string& text);
    // A string value; refuses one above the output limit.
    [[nodiscard]] Result<Value> make_string(std::string text);
    [[nodiscard]] Result<std::string> text_of(const Value& value);  // str()
    // The items a `for` would see; consumes a generator.
    [[nodiscard]] Result<List> items_of(const Value& value);
    [[nodiscard]] Result<Value> attribute(const Value& base, std::string_view name);  // base.name
    [[nodiscard]] Result<Value> item(const Value& base, const Value& index);          // base[index]
    [[nodiscard]] Result<Value> call(const Value& callee, const Arguments& arguments);
    [[nodiscard]] Result<std::optional<Value>> peek(Loop& loop);  // the item after the current one
    [[nodiscard]] Result<std::int64_t> length(Loop& loop);
    [[nodiscard]] Value make_namespace(Dict attributes);
    [[nodiscard]] std::int64_t now_s() const { return now_s_; }
    [[nodiscard]] const Limits& limits() const { return limits_; }

  private:
    enum class Flow { normal, break_loop, continue_loop };
    using Evaluated = Result<Value>;
    using Executed = Result<Flow>;

    [[nodiscard]] Evaluated evaluate(const Expression& expression);
    [[nodiscard]] Evaluated evaluate_node(const Literal& node);
    [[nodiscard]] Evaluated evaluate_node(const Name& node);
    [[nodiscard]] Evaluated evaluate_node(const Unary& node);
    [[nodiscard]] Evaluated evaluate_node(const Arithmetic& node);
    [[nodiscard]] Evaluated evaluate_node(const Compare& node);
    [[nodiscard]] Evaluated evaluate_node(const Logical& node);
    [[nodiscard]] Evaluated evaluate_node(const Concatenation& node);
    [[nodiscard]] Evaluated evaluate_node(const Conditional& node);
    [[nodiscard]] Evaluated evaluate_node(const Attribute& node);
    [[nodiscard]] Evaluated evaluate_node(const Item& node);
    [[nodiscard]] Evaluated evaluate_node(const Slice& node);
    [[nodiscard]] Evaluated evaluate_node(const Call& node);
    [[nodiscard]] Evaluated evaluate_node(const Filter& node);
    [[nodiscard]] Evaluated evaluate_node(const Test& node);
    [[nodiscard]] Evaluated evaluate_node(const ListDisplay& node);
    [[nodiscard]] Evaluated evaluate_node(const DictDisplay& node);
    [[nodiscard]] Result<Arguments> evaluate_arguments(const CallArguments& arguments);
    [[nodiscard]] Evaluated evaluate_call(const Call& node, const Arguments& arguments);
    [[nodiscard]] Evaluated filter_block(const Expression* filter, std::string text);

    [[nodiscard]] Executed execute(const Body& body);
    [[nodiscard]] Executed execute_node(const Text& node);
    [[nodiscard]] Executed execute_node(const Output& node);
    [[nodiscard]] Executed execute_node(const If& node);
    [[nodiscard]] Executed execute_node(const For& node);
    [[nodiscard]] Executed execute_node(const Set& node);
    [[nodiscard]] Executed execute_node(const SetBlock& node);
    [[nodiscard]] Executed execute_node(const FilterBlock& node);
    [[nodiscard]] Executed execute_node(const MacroStatement& node);
    [[nodiscard]] Executed execute_node(const CallBlock& node);
    [[nodiscard]] Executed execute_node(const With& node);
    [[nodiscard]] Executed execute_node(const Generation& node);
    [[nodiscard]] Executed execute_node(const Break& node);
    [[nodiscard]] Executed execute_node(const Continue& node);
    [[nodiscard]] Executed execute_in(std::shared_ptr<Scope> scope, const Body& body);

    // A text of `size_bytes` that grows.
    [[nodiscard]] Result<> charge_text(std::size_t size_bytes, std::size_t added_bytes);
    [[nodiscard]] Result<> emit(std::string_view text);
    [[nodiscard]] Result<> assign(const Target& target, Value value);
    [[nodiscard]] Executed run_loop(Loop& loop, const std::shared_ptr<Loop>& shared);
    [[nodiscard]] Executed start_loop(const For& node, std::shared_ptr<Scope> scope,
                                      const Value& iterable, std::int64_t nesting);
    [[nodiscard]] Result<std::optional<Value>> pull(Loop& loop);
    [[nodiscard]] Evaluated call_macro(const Macro& macro, const Arguments& arguments);
    [[nodiscard]] Result<> bind_parameters(const MacroDefinition& macro, const Arguments& arguments,
                                           Scope& scope);
    [[nodiscard]] Evaluated call_loop(Loop& loop, const Arguments& arguments);
    [[nodiscard]] const Macro* make_macro(std::shared_ptr<const MacroDefinition> definition);
    [[nodiscard]] Result<> enter();
    void leave() { --depth_; }

    // Runs `work` printing into a string of its own.
    template <typename Work>
    Result<std::string> capture(Work work);

    const Template& program_;
    Limits limits_;
    std::int64_t now_s_;
    std::uint64_t step_count_ = 0;
    std::size_t depth_ = 0;
    std::uint32_t error_line_ = 0;  // of the innermost part that failed
    std::shared_ptr<Scope> scope_;
    std::string* output_ = nullptr;
    Value filter_input_;
    std::deque<Namespace> namespaces_;
    std::deque<Macro> macros_;
};

[[nodiscard]] std::unexpected<Error> run_time_error(std::string message);
// What using an undefined value says.
[[nodiscard]] std::unexpected<Error> undefined_error(const Value& value);

}  // namespace exomesh::model::jinja
