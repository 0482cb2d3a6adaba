/* toml.cpp -- TOML through tomlplusplus, handed out as plain text.
 *
 * Source  TOML 1.0. Tables become dotted keys; arrays, floats and dates are refused: no setting has such a value.
 * Threads pure.
 * SPDX-License-Identifier: Apache-2.0 */
#include "server/toml.h"

#include <cstdio>
#include <string>
#include <string_view>

#include <toml++/toml.h>

namespace
{

struct walk {
    mg_toml_item *item;
    void *arg;
    char *error;
    size_t error_size;

    int table(const toml::table &values, const std::string &prefix)
    {
        for (auto &&[key, node] : values) {
            std::string name = prefix + std::string(key.str());
            int line = static_cast<int>(node.source().begin.line);
            int result;
            if (auto *inner = node.as_table())
                result = table(*inner, name + ".");
            else if (auto *text = node.as_string())
                result = item(arg, name.c_str(), text->get().c_str(), line);
            else if (auto *number = node.as_integer())
                result = item(arg, name.c_str(), std::to_string(number->get()).c_str(), line);
            else if (auto *boolean = node.as_boolean())
                result = item(arg, name.c_str(), boolean->get() ? "true" : "false", line);
            else {
                std::snprintf(error, error_size, "line %d: %s is neither text, a whole number nor true or false", line,
                              name.c_str());
                return -1;
            }
            if (result)
                return result;
        }
        return 0;
    }
};

} // namespace

extern "C" int mg_toml_walk(const char *text, size_t size, mg_toml_item *item, void *arg, char *error,
                            size_t error_size)
{
    try {
        toml::table values = toml::parse(std::string_view(text, size));
        return walk{item, arg, error, error_size}.table(values, "");
    } catch (const toml::parse_error &problem) {
        std::snprintf(error, error_size, "line %u: %.*s", static_cast<unsigned>(problem.source().begin.line),
                      static_cast<int>(problem.description().size()), problem.description().data());
    } catch (const std::exception &problem) {
        std::snprintf(error, error_size, "%s", problem.what());
    }
    return -1;
}
