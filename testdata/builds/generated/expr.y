%{
#include <stdlib.h>

int yylex(void);
void yyerror(const char *why);
void scan(const char *text);

static long value;
%}

%define api.value.type {long}
%token NUMBER
%left '+' '-'
%left '*'

%%
line: expr { value = $1; }
expr: NUMBER
    | expr '+' expr { $$ = $1 + $3; }
    | expr '-' expr { $$ = $1 - $3; }
    | expr '*' expr { $$ = $1 * $3; }
%%

void yyerror(const char *why)
{
    (void)why;
}

int evaluate(const char *text, long *result)
{
    int failed;

    scan(text);
    failed = yyparse();
    *result = value;
    return failed;
}
