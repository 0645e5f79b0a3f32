#include "model/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace exomesh::model {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const Json& variables() {
    static const Json json = Json::parse(R"({
        "a": 3, "f": 2.5, "n": null, "yes": true, "s": " Hello, World ", "xs": [3, 1, 2],
        "d": {"b": 1, "a": "two", "items": [1]}, "u": "é世界",
        "ms": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]})");
    return json;
}

std::string render(std::string_view source) {
    const auto chat_template = ChatTemplate::create(source);
    if (!chat_template) return "error: " + chat_template.error().message;
    const auto text = chat_template->render_variables(variables(), 1'721'997'296);
    return text ? *text : "error: " + text.error().message;
}

struct Case {
    std::string_view source;
    std::string_view text;
};

class Renders : public ::testing::TestWithParam<Case> {};

TEST_P(Renders, AsJinja2) {
    EXPECT_EQ(render(GetParam().source), GetParam().text);
}

INSTANTIATE_TEST_SUITE_P(
    Whitespace, Renders,
    ::testing::Values(Case{"a\n", "a"}, Case{"a\n\n", "a\n"}, Case{"a\r\nb", "a\nb"},
                      Case{"a\n  {% if yes %}\nb\n  {% endif %}\nc", "a\nb\nc"},
                      Case{"a\n  {%+ if yes +%}\nb{% endif %}", "a\n  \nb"},
                      Case{"a \n {{- a -}} \n b", "a3b"},
                      Case{"a {%- if yes -%} b {%- endif -%} c", "abc"},
                      Case{"a {# no #} b{#- no -#} c", "a  bc"}, Case{"x {# a #}\ny", "x y"},
                      Case{"{% raw %}{{ a }}{% endraw %}", "{{ a }}"},
                      Case{"{%- raw -%} {% x {%- endraw %}\ny", "{% xy"}));

INSTANTIATE_TEST_SUITE_P(
    Operators, Renders,
    ::testing::Values(
        Case{"{{ 1 + 2 * 3 }} {{ 7 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2 ** 3 ** 2 }}",
             "7 3.5 -4 2 64"},
        Case{"{{ 6 / 3 }} {{ 7.0 // 2 }} {{ 2 ** -1 }} {{ 1e16 }} {{ 0.00001 }} {{ 1e15 }}",
             "2.0 3.0 0.5 1e+16 1e-05 1000000000000000.0"},
        Case{"{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1.0 == true }} {{ 'a' < 'b' }}",
             "True False True True"},
        Case{"{{ 1 in xs }} {{ 9 not in xs }} {{ 'llo' in s }} {{ 'b' in d }}",
             "True True True True"},
        Case{"{{ none or 'x' }} {{ 0 and 1 }} {{ not n }}", "x 0 True"},
        Case{"{{ 'a' ~ 1 ~ none ~ 1.0 }}{{ 'ab' * 2 }}{{ [1] * 2 }}{{ [1] + [2] }}",
             "a1None1.0abab[1, 1][1, 2]"},
        Case{"{{ 'x' if a == 3 else 'y' }}{{ 'x' if a == 4 }}", "x"},
        Case{"{{ xs[0] }}{{ xs[-1] }}{{ xs[::-1] }}{{ xs[1:] }}{{ u[1] }}{{ u[::-1] }}{{ s[1:6] }}",
             "32[2, 1, 3][1, 2]世界世éHello"},
        Case{"{{ -2 | abs }}{{ a is odd and a is not none }}", "2True"},
        Case{"{{ '%s-%03d-%.2f%%' % ('x', 7, 1.005) }}", "x-007-1.00%"},
        Case{"{{ [1, 'a', none, 1.5, (2,), {'k': \"it's\"}] }}",
             "[1, 'a', None, 1.5, (2,), {'k': \"it's\"}]"},
        Case{"{{ u[-1] }}{{ u[-4] }}{{ u[3] }}{{ '%.2s' % u }}{{ '{:.1}'.format(u) }}", "界é世é"},
        Case{"{{ u.find('界', -1) }}{{ u.strip('é界') }}{{ 'aBé'.swapcase() }}", "2世AbÉ"},
        Case{"{{ '\xED\xA0\x80' | length }}", "3"},  // a surrogate is no character
        Case{"{{ ('nan' | float).is_integer() }}{{ ('inf' | float).is_integer() }}{{ "
             "(2.0).is_integer() }}",
             "FalseFalseTrue"},
        Case{"{{ range(-4611686018427387905, -4611686018427387904, 3)[::4611686018427387904] }}",
             "range(-4611686018427387905, -4611686018427387902, -4611686018427387904)"},
        Case{"{% set least = -9223372036854775807 - 1 %}{{ 'a'.center(least) }}{{ "
             "'a'.zfill(least) }}{{ 'a' | center(least) }}{{ 'a b'.split(' ', least) }}",
             "aaa['a', 'b']"},
        Case{"{{ 'a' 'b' }}{{ '\\u00e9\\n\\'' }}", "abé\n'"}));

INSTANTIATE_TEST_SUITE_P(
    Statements, Renders,
    ::testing::Values(
        Case{"{% set x = 1 %}{% for i in xs %}{% set x = i %}{% endfor %}{{ x }}", "1"},
        Case{"{% set ns = namespace(x=1) %}{% for i in xs %}{% set ns.x = ns.x + i %}{% endfor "
             "%}{{ ns.x }}",
             "7"},
        Case{"{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "b=1;a=two;items=[1];"},
        Case{"{% for m in ms %}{{ loop.index }}{{ loop.first }}{{ loop.last }}{{ loop.length }}"
             "{{ loop.revindex0 }}{{ (loop.previtem or {}).role }}{{ loop.nextitem is defined }} "
             "{% endfor %}",
             "1TrueFalse21True 2FalseTrue20userFalse "},
        Case{"{% for i in xs if i > 1 %}{{ i }}{% else %}no{% endfor %}{% for i in [] %}{% else "
             "%}no{% endfor %}",
             "32no"},
        Case{"{% for i in xs %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "32"},
        Case{"{% for i in xs %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}", "3"},
        Case{"{% for i in [1, [2, [3]]] recursive %}{{ i if i is number else '<' ~ loop(i) ~ '>' "
             "}}{% endfor %}",
             "1<2<3>>"},
        Case{"{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{{ loop.cycle('a', 'b') }}{% endfor %}",
             "TrueaFalsebTruea"},
        Case{"{% macro m(x, y=x ~ '!') %}{{ x }}{{ y }}{% endmacro %}{{ m('a') }}{{ m('b', y=1) }}",
             "aa!b1"},
        Case{"{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, k=2) }}",
             "(1,){'k': 2}"},
        Case{"{% macro m() %}[{{ caller(1) }}]{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}",
             "[1]"},
        Case{"{% macro f(i) %}{{ i }}{% if i %}{{ f(i - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
             "3210"},
        Case{"{% set x %}a{{ a }}{% endset %}{{ x }}{% set x | upper %}b{% endset %}{{ x }}",
             "a3B"},
        Case{"{% filter upper | replace('A', 'x') %}abc{% endfilter %}", "xBC"},
        Case{"{% with x = 1, y = x %}{{ x }}{{ y }}{% endwith %}", "1"},
        Case{"{% set a, b = 1, 2 %}{{ b }}{{ a }}", "21"},
        Case{"{% generation %}x{% endgeneration %}", "x"},
        Case{"{% if n %}1{% elif a == 3 %}2{% else %}3{% endif %}", "2"}));

INSTANTIATE_TEST_SUITE_P(
    Library, Renders,
    ::testing::Values(
        Case{"{{ '<' + '&' | safe }}{{ '<' | e }}{{ '<' | safe }}{{ ('<' | safe) ~ '<' }}",
             "&lt;&&lt;<<<"},
        Case{"{% if missing %}{{ a | nope }}{{ a is nope }}{% endif %}ok", "ok"},
        Case{"{{ d | tojson }}", R"({"b": 1, "a": "two", "items": [1]})"},
        Case{"{{ {'a': ['é<', none, true, 1.0], 'b': {}} | tojson(indent=2) }}",
             "{\n  \"a\": [\n    \"é<\",\n    null,\n    true,\n    1.0\n  ],\n  \"b\": {}\n}"},
        Case{"{{ u | tojson(ensure_ascii=true) }}{{ [1, 2] | tojson(separators=(',', ':')) }}",
             "\"\\u00e9\\u4e16\\u754c\"[1,2]"},
        Case{"{{ s | trim }}|{{ s.strip(' d') }}|{{ s.lstrip() }}|{{ s.rstrip() }}",
             "Hello, World|Hello, Worl|Hello, World | Hello, World"},
        Case{"{{ s.split(',') }}{{ s.split() }}{{ 'a b c'.split(' ', 1) }}",
             "[' Hello', ' World ']['Hello,', 'World']['a', 'b c']"},
        Case{"{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x', 'c')) }}{{ 'abc'.find('c') }}{{ "
             "u.find('界') }}",
             "TrueTrue22"},
        Case{"{{ 'aXbX'.replace('X', '-', 1) }}{{ ','.join(['a', 'b']) }}{{ 'x'.upper() }}{{ 'a-b "
             "c'.title() }}",
             "a-bXa,bXA-B C"},
        Case{"{{ '{} {x} {0:>3}'.format(1, x='y') }}{{ '%s' | format(1) }}", "1 y   11"},
        Case{"{{ d.get('b') }}{{ d.get('z') }}{{ d.get('z', 4) }}{{ d['items'] }}{{ d.keys() | "
             "list }}",
             "1None4[1]['b', 'a', 'items']"},
        Case{"{{ u | length }}{{ xs | first }}{{ xs | last }}{{ xs | sort | join('-') }}{{ xs | "
             "sum }}{{ xs | max }}",
             "3321-2-363"},
        Case{"{{ ms | map(attribute='role') | list }}{{ ms | selectattr('role', 'equalto', 'user') "
             "| list | length }}",
             "['user', 'assistant']1"},
        Case{"{{ ms | rejectattr('role', 'eq', 'user') | map(attribute='content') | first }}{{ "
             "['a'] | map('upper') | join }}",
             "HoA"},
        Case{"{{ d | dictsort }}{{ [1, 1, 2] | unique | list }}{{ 'b' in d | items | map('first') "
             "| list }}",
             "[('a', 'two'), ('b', 1), ('items', [1])][1, 2]True"},
        Case{"{{ missing | default('x') }}{{ '' | default('y', true) }}{{ '42.9' | int }}{{ 'z' | "
             "int(5) }}{{ 2.5 | round }}",
             "xy4252.0"},
        Case{"{{ 'a\nb' | indent(2) }}{{ 'hello world' | capitalize }}{{ [1,2,3] | batch(2) | list "
             "}}",
             "a\n  bHello world[[1, 2], [3]]"},
        Case{"{{ n is none }}{{ d is mapping }}{{ xs is iterable }}{{ s is sequence }}{{ yes is "
             "boolean }}{{ yes is true }}{{ f is float }}{{ missing is defined }}",
             "TrueTrueTrueTrueTrueTrueTrueFalse"},
        Case{"{{ range(3) | list }}{{ range(5, 0, -2) }}{{ dict(a=1) }}{{ strftime_now('%d %b %Y, "
             "%H:%M') }}",
             "[0, 1, 2]range(5, 0, -2){'a': 1}26 Jul 2024, 12:34"},
        Case{"{% set j = joiner('|') %}{{ j() }}a{{ j() }}b{% set c = cycler(1, 2) %}{{ c.next() "
             "}}{{ c.next() }}{{ c.current }}",
             "a|b121"},
        Case{"[{{ missing }}][{{ d.zzz }}][{{ xs[9] }}]{% for i in missing %}x{% endfor %}",
             "[][][]"}));

INSTANTIATE_TEST_SUITE_P(
    Errors, Renders,
    ::testing::Values(
        Case{"a\n{{ missing.x }}", "error: chat template, line 2: `missing` is undefined."},
        Case{"\n\n{{ raise_exception('Only user and assistant!') }}",
             "error: chat template, line 3: Only user and assistant!"},
        Case{"{{ 1 / 0 }}", "error: chat template, line 1: division by zero."},
        Case{"{{ 9223372036854775807 + 1 }}",
             "error: chat template, line 1: an integer is out of range: only 64 bits are "
             "supported."},
        Case{"{{ 9223372036854775807 | round(-1) }}",
             "error: chat template, line 1: an integer is out of range: only 64 bits are "
             "supported."},
        Case{"{{ 1 | round(-9223372036854775807 - 1) }}",
             "error: chat template, line 1: the precision is out of range."},
        Case{"\n{% if x %}",
             "error: chat template, line 2: the block that begins here has no end: `{% endif %}` "
             "is missing."},
        Case{"{{ a | nope }}", "error: chat template, line 1: there is no filter `nope`."},
        Case{"{% nope %}", "error: chat template, line 1: there is no statement `nope`."},
        Case{"{{ xs.append(1) }}",
             "error: chat template, line 1: `append` would change the list, which templates may "
             "not."}));

std::string repeated(std::string_view text, int count) {
    std::string result;
    for (int i = 0; i < count; ++i) result += text;
    return result;
}

// Each of these takes a limit that keeps a stranger's template from taking the machine.
TEST(ChatTemplateLimits, HostileTemplatesAreRefused) {
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"{{ 'a' * 10 ** 9 }}", "too large"},
        {"{{ [0] * 10 ** 12 }}", "too large"},
        {"{{ " + repeated("(", 5000) + "1" + repeated(")", 5000) + " }}", "nested"},
        {"{{ " + repeated("not ", 5000) + "1 }}", "nested"},
        {"{{ a" + repeated("[0]", 5000) + " }}", "too deep"},
        {"{{ a" + repeated("|list", 5000) + " }}", "too deep"},
        {repeated("{% if 1 %}", 5000), "nested"},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "calls itself"},
        {"{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", "calls itself"},
        {"{% set ns = namespace(x=1) %}{% for i in range(1000) %}{% set ns.x = [ns.x] %}{% endfor "
         "%}",
         "nested"},
        {"{% set ns = namespace(x='a') %}{% for i in range(90) %}{% set ns.x = [ns.x, ns.x] %}{% "
         "endfor %}",
         "larger"},
        {"{% set ns = namespace(x='ab') %}{% for i in range(90) %}{% set ns.x = ns.x.replace('a', "
         "ns.x) %}{% endfor %}",
         "too large"},
        {"{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "steps"},
        {"{% for i in range(99999) %}{{ '%9999d' % 1 }}{% endfor %}", "bytes"},
        {"{{ range(10 ** 9) }}", "range"},
        {"{{ ('%(a)9999d' * 5000000) % {'a': 1} }}", "makes a text above"},
        {"{{ ('{0:9999}' * 5000000).format(1) }}", "makes a text above"},
        {"{% set ns = namespace() %}{% for i in [1] %}{% set ns.l = loop %}{% endfor %}"
         "{{ ns.l.changed(ns.l) }}",
         "within its loop"},
    };
    for (const auto& [source, message] : cases) {
        EXPECT_THAT(render(source), AllOf(HasSubstr("error: "), HasSubstr(message)))
            << source.substr(0, 100);
    }
}

// What a single expression costs grows with what it walks: each of these would take minutes or
// hours.
TEST(ChatTemplateLimits, StepsBoundTheTime) {
    const std::string texts = "{% set a = 'a' * 4000000 %}{% set b = 'a' * 400000 ~ 'b' %}";
    for (const std::string_view search :
         {"b in a", "a.find(b)", "a.rfind(b)", "a.count(b)", "a.split(b)", "a.partition(b)",
          "a.replace(b, '')", "a | replace(b, '')"}) {
        EXPECT_THAT(render(texts + "{{ " + std::string(search) + " }}"), HasSubstr("steps"))
            << search;
    }
    const std::string loop =
        "{% set a = 'a' * 4000000 %}{% set b = 'a' * 4000000 %}"
        "{% set j = joiner(a) %}{% for i in range(99999) %}{% set x = ";
    for (const std::string_view work :
         {"[a].index(b)", "[a].count(b)", "a is sameas b", "(a,) in [(b,)]", "{}[a]", "{}.get(a)",
          "{a: 1}", "dict([(a, 1)])", "loop.changed(a)", "j()", "joiner(a)", "''.find(a)",
          "''.removeprefix(a)"}) {
        EXPECT_THAT(render(loop + std::string(work) + " %}{% endfor %}"), HasSubstr("steps"))
            << work;
    }
}

TEST(ChatTemplateLimits, KeysThatEqualNothingAreNotCompared) {
    EXPECT_EQ(render("{{ dict([('nan' | float, 1)] * 200000) | length }}"), "200000");
}

// Values that contain themselves are freed: the address sanitizer watches.
TEST(ChatTemplateLimits, CyclesDoNotLeak) {
    EXPECT_EQ(
        render("{% set ns = namespace() %}{% set ns.me = ns %}"
               "{% for i in [1] %}{% set ns.loop = loop %}{{ loop.changed(loop) }}{% endfor %}"
               "{% macro m() %}{% endmacro %}{% set ns.m = m %}{{ ns.me.me.loop.index }}"),
        "True1");
}

TEST(ChatTemplate, LongChainsOfOperatorsAreNotDeep) {
    EXPECT_EQ(render("{{ 0" + repeated(" + 1", 5000) + " }}"), "5000");
    EXPECT_EQ(render("{{ ''" + repeated(" ~ 'x'", 3000) + " }}"), repeated("x", 3000));
}

TEST(ChatTemplate, RendersAConversation) {
    const auto chat_template = ChatTemplate::create(
        "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% "
        "endfor %}"
        "{% if tools %}{{ tools | tojson }}{% endif %}{% if add_generation_prompt %}<assistant>{% "
        "endif %}"
        "{% if think is defined and not think %}quick{% endif %}");
    ASSERT_TRUE(chat_template) << chat_template.error().text();
    ChatTemplateInput input;
    input.messages = Json::parse(R"([{"role": "user", "content": "Hi"}])");
    input.tools = Json::parse(R"([{"name": "f"}])");
    input.beginning_of_sequence_text = "<s>";
    input.end_of_sequence_text = "</s>";
    input.extra = Json::parse(R"({"think": false})");
    const auto text = chat_template->render(input);
    ASSERT_TRUE(text) << text.error().text();
    EXPECT_EQ(*text, "<s><user>Hi</s>[{\"name\": \"f\"}]<assistant>quick");
}

TEST(ChatTemplate, AHundredMessagesAreFast) {
    Json messages = Json::array();
    for (int i = 0; i < 100; ++i) {
        messages.push_back(
            {{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", std::string(2000, 'x')}});
    }
    const auto chat_template = ChatTemplate::create(
        "{% set ns = namespace(last=0) %}{% for m in messages[::-1] %}{% if m.role == 'user' and "
        "not ns.last %}"
        "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}{% for m in messages %}{% if "
        "m.content is string %}"
        "{% set content = m.content | trim %}{% endif %}{{ '<|im_start|>' + m.role + '\\n' + "
        "content + '<|im_end|>\\n' }}"
        "{% endfor %}");
    ASSERT_TRUE(chat_template);
    ChatTemplateInput input;
    input.messages = messages;
    const auto begin = std::chrono::steady_clock::now();
    const auto text = chat_template->render(input);
    const auto duration = std::chrono::steady_clock::now() - begin;
    ASSERT_TRUE(text) << text.error().text();
    EXPECT_GT(text->size(), 200'000U);
    // The budget is 20 ms; sanitizers and busy machines get ten times that.
    EXPECT_LT(duration, std::chrono::milliseconds(200));
}

}  // namespace
}  // namespace exomesh::model
