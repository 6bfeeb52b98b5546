#include <mutex>

#include "hello.hpp"

namespace {

class Square : public Shape {
public:
    explicit Square(int side) : side(side) {}
    int area() const override { return side + side; }
    std::string name() const override { return "square"; }

private:
    int side;
};

class Bar : public Shape {
public:
    explicit Bar(int length) : length(length) {}
    int area() const override { return length; }
    std::string name() const override { return "bar"; }

private:
    int length;
};

std::mutex lock;
std::shared_ptr<Shape> kept;

} // namespace

std::shared_ptr<Shape> make_shape(const std::string &kind, int size)
{
    if (kind == "square")
        return std::make_shared<Square>(size);
    if (kind == "bar")
        return std::make_shared<Bar>(size);
    throw std::invalid_argument("no shape " + kind);
}

std::string keep_shape(const std::string &kind, int size)
{
    std::shared_ptr<Shape> shape = make_shape(kind, size);
    std::lock_guard<std::mutex> hold(lock);

    kept = shape;
    return "kept " + kept->name();
}

std::string kept_area()
{
    std::lock_guard<std::mutex> hold(lock);

    return kept ? kept->name() + " " + std::to_string(kept->area()) : "nothing kept";
}
