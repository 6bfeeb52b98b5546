/* The build makes a table of this list, line by line. */
enum bound {
    LOWER,
    UPPER,
    BOUNDS
};
