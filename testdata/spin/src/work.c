int work(int value)
{
    volatile int result = value;

    for (int i = 0; i < 10; i++)
        result = result + 1;
    return result;
}
