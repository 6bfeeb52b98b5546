#include <map>

#include "hello.hpp"

static std::string word(const Words &words, size_t n)
{
    return n < words.size() ? words[n] : std::string();
}

static std::string run(const Words &words)
{
    const std::string name = word(words, 0);

    if (name == "version")
        return "version 1.0";
    if (name == "twice")
        return "twice " + std::to_string(twice(word(words, 1)));
    if (name == "parse")
        return parse_or_say(word(words, 1));
    if (name == "guards")
        return "guards " + std::to_string(guards_left());
    if (name == "put")
        return put(word(words, 1), word(words, 2));
    if (name == "get")
        return get(word(words, 1));
    if (name == "banner")
        return banner();
    if (name == "each")
        return each(words);
    if (name == "keep")
        return keep_shape(word(words, 1), parse_number(word(words, 2)));
    if (name == "area")
        return kept_area();
    if (name == "largest")
        return "largest " + largest(Words(words.begin() + 1, words.end()));
    if (name == "say")
        return say(word(words, 1));
    return "unknown command";
}

std::string dispatch(const Words &words)
{
    try {
        return run(words);
    } catch (const BadNumber &error) {
        return std::string("caught ") + error.what();
    } catch (const std::exception &error) {
        return std::string("failed ") + error.what();
    }
}
