#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

using Words = std::vector<std::string>;

std::string dispatch(const Words &words);

class Shape {
public:
    virtual ~Shape() = default;
    virtual int area() const = 0;
    virtual std::string name() const = 0;
};

// Shapes live on between requests: their vtables are those of the program.
std::shared_ptr<Shape> make_shape(const std::string &kind, int size);

class BadNumber : public std::runtime_error {
public:
    explicit BadNumber(const std::string &text) : std::runtime_error("bad number " + text) {}
};

int parse_number(const std::string &text);
int twice(const std::string &text);
std::string parse_or_say(const std::string &text);
int guards_left();

template <typename T> T largest(const std::vector<T> &values)
{
    T best = values.at(0);
    for (const T &value : values)
        if (best < value)
            best = value;
    return best;
}

std::string put(const std::string &key, const std::string &value);
std::string get(const std::string &key);
std::string banner();
std::string each(const Words &words);
std::string keep_shape(const std::string &kind, int size);
std::string kept_area();
std::string say(const std::string &text);
