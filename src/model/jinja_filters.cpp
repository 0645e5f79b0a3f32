#include "model/jinja_filters.h"

#include <algorithm>
#include <array>
#include <utility>

#include "model/jinja_filter_groups.h"

namespace exomesh::model::jinja {

FilterFunction find_filter(std::string_view name) {
    using Find = FilterFunction (*)(std::string_view);
    for (const Find find : {find_text_filter, find_list_filter, find_number_filter}) {
        if (const FilterFunction found = find(name)) return found;
    }
    return nullptr;
}

}  // namespace exomesh::model::jinja
