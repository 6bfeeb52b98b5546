int work(int value)
{
    volatile int result = value;

    for (int i = 0; i < 10; i++)
        result = result + 1;
    return result;
}

int tick(int value)
{
    return value * 3 + 1;
}
