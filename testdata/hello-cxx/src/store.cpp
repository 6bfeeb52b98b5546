#include <algorithm>
#include <iostream>
#include <map>
#include <mutex>

#include "hello.hpp"

static std::map<std::string, std::string> &store()
{
    static std::map<std::string, std::string> values;
    return values;
}

static std::mutex lock;

std::string put(const std::string &key, const std::string &value)
{
    std::lock_guard<std::mutex> hold(lock);

    store()[key] = value;
    return "stored";
}

std::string get(const std::string &key)
{
    std::lock_guard<std::mutex> hold(lock);
    auto found = store().find(key);

    return found == store().end() ? "no " + key : key + " is " + found->second;
}

std::string banner()
{
    static int uses = 0;
    static const std::string text = std::string("hello from ") + "C++";

    return text + " " + std::to_string(++uses);
}

std::string each(const Words &words)
{
    std::string out = "each";

    std::for_each(words.begin() + 1, words.end(), [&out](const std::string &word) { out += " " + word; });
    return out;
}

std::string say(const std::string &text)
{
    return "said " + text;
}
