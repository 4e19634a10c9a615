
/* What follows is the same for every model. */

#include <math.h>
#include <stddef.h>

/* Rows of knots are KNOTS wide, rows of what a bent number becomes KNOTS + 1. */
static double sartor_bent(int at, double number)
{
    int knot = 0;
    size_t place;
    while (knot < KNOTS && number >= BEND_KNOTS[at * KNOTS + knot])
        knot++;
    place = (size_t)at * (KNOTS + 1) + (size_t)knot;
    return BEND_SLOPE[place] * (number - BEND_START[place]) + BEND_BASE[place];
}

/* Standardised numbers, gaps, then each category's columns; behind them the negatives of all. */
static void sartor_code(const double *numbers, const int *codes, float *coded)
{
    int at, to = 0;
    size_t table = 0;
    for (at = 0; at < CODED_NUMBERS; at++) {
        double number = numbers[NUMBER_SLOT[at]];
        if (!(fabs(number) < HUGE_NUMBER)) /* NaN too */
            number = NUMBER_MIDDLE[at];
        if (at < BENT)
            number = sartor_bent(at, number);
        number = (number - NUMBER_MEAN[at]) / NUMBER_SPREAD[at];
        coded[to++] = (float)(number < -LARGEST ? -LARGEST : number > LARGEST ? LARGEST : number);
    }
    for (at = 0; at < GAPS; at++)
        coded[to++] = GAP_VALUES[2 * at + !(fabs(numbers[GAP_SLOT[at]]) < HUGE_NUMBER)];
    for (at = 0; at < SARTOR_CODES; at++) {
        int column, level = codes[at] >= 0 && codes[at] < LEVEL_COUNT[at] ? codes[at] : LEVEL_COUNT[at];
        for (column = 0; column < LEVEL_WIDTH[at]; column++)
            coded[to++] = LEVEL_TABLE[table + (size_t)level * (size_t)LEVEL_WIDTH[at] + (size_t)column];
        table += (size_t)(LEVEL_COUNT[at] + 1) * (size_t)LEVEL_WIDTH[at];
    }
    for (at = 0; at < CODED; at++)
        coded[CODED + at] = -coded[at];
}

static void sartor_add(double *scores, const float *out, double value)
{
    int output;
    for (output = 0; output < OUTPUTS; output++)
        scores[output] += value * out[output];
}

static void sartor_products(double *scores, const float *coded, int many, int order, const int *column,
                            const float *above, const float *out)
{
    int at, step;
    for (at = 0; at < many; at++) {
        for (step = 0; step < order && coded[column[at * order + step]] > above[at * order + step]; step++)
            ;
        if (step == order)
            sartor_add(scores, out + (size_t)at * OUTPUTS, 1.0);
    }
}

int sartor_predict(const double *numbers, const int *codes, double *out)
{
    float coded[2 * CODED], units[UNITS + 1];
    double scores[OUTPUTS];
    int at, unit;
    if ((SARTOR_NUMBERS && !numbers) || (SARTOR_CODES && !codes) || !out)
        return -1;
    sartor_code(numbers, codes, coded);
    for (at = 0; at < OUTPUTS; at++)
        scores[at] = BIAS[at];
    for (unit = 0; unit < UNITS; unit++)
        units[unit] = UNITS_BIAS[unit];
    for (at = 0; at < CODED; at++) {
        const float *weight = UNITS_WEIGHT + (size_t)at * UNITS;
        sartor_add(scores, COLUMNS_OUT + (size_t)at * OUTPUTS, coded[at]);
        for (unit = 0; unit < UNITS; unit++)
            units[unit] += coded[at] * weight[unit];
    }
    for (unit = 0; unit < UNITS; unit++)
        if (units[unit] > 0)
            sartor_add(scores, UNITS_OUT + (size_t)unit * OUTPUTS, units[unit]);
    sartor_products(scores, coded, PRODUCTS_1, 1, PRODUCTS_1_COLUMN, PRODUCTS_1_ABOVE, PRODUCTS_1_OUT);
    sartor_products(scores, coded, PRODUCTS_2, 2, PRODUCTS_2_COLUMN, PRODUCTS_2_ABOVE, PRODUCTS_2_OUT);
    sartor_products(scores, coded, PRODUCTS_3, 3, PRODUCTS_3_COLUMN, PRODUCTS_3_ABOVE, PRODUCTS_3_OUT);
#if SARTOR_CLASSES
    {
        double largest = -HUGE_VAL, sum = 0;
        for (at = 0; at < OUTPUTS; at++) {
            double score = scores[at];
            out[at] = WARMTH[0] * score + WARMTH[1] * log((score > 0 ? score : 0) + LEAST_SCORE) + LOGIT_BIAS[at];
            largest = out[at] > largest ? out[at] : largest;
        }
        for (at = 0; at < OUTPUTS; at++)
            sum += out[at] = exp(out[at] - largest);
        for (at = 0; at < OUTPUTS; at++)
            out[at] /= sum;
    }
#else
    out[0] = TARGET[0] + TARGET[1] * scores[0];
    out[0] = out[0] < RANGE[0] ? RANGE[0] : out[0] > RANGE[1] ? RANGE[1] : out[0];
    out[1] = out[0] - HALF[0];
    out[2] = out[0] + HALF[0];
#endif
    return 0;
}

/* The numbers that a date is, in the order of their names, hour last; NaN where there is no such day or time.
   `parts` has room for five. */
void sartor_date(int year, int month, int day, double hours, double *parts)
{
    static const int before[13] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    int leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0), at, length, since, days;
    double angle;
    for (at = 0; at < 5; at++)
        parts[at] = NAN;
    if (year < 1 || year > 9999 || month < 1 || month > 12 || day < 1 || !(hours >= 0 && hours < 24))
        return;
    length = before[month] - before[month - 1] + (month == 2 ? leap : 0);
    if (day > length)
        return;
    since = before[month - 1] + day - 1 + (month > 2 ? leap : 0);
    year--;
    days = 365 * year + year / 4 - year / 100 + year / 400 + since - 730119; /* since 2000-01-01 */
    angle = 2 * 3.14159265358979323846 * ((since + hours / 24) / (365 + leap));
    parts[0] = days + hours / 24;
    parts[1] = sin(angle);
    parts[2] = cos(angle);
    parts[3] = ((days + 5) % 7 + 7) % 7;
    parts[4] = hours;
}

#ifdef SARTOR_MAIN
/* One row a line, as a check: all numbers, then all codes, with commas between; what is empty is missing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    static char line[65536];
    double numbers[SARTOR_NUMBERS + 1], out[SARTOR_OUTPUTS];
    int codes[SARTOR_CODES + 1], at;
    while (fgets(line, sizeof line, stdin)) {
        char *cell = line;
        line[strcspn(line, "\r\n")] = '\0';
        for (at = 0; at < SARTOR_NUMBERS + SARTOR_CODES; at++) {
            char *end = cell + strcspn(cell, ","), *next = *end ? end + 1 : end;
            *end = '\0';
            if (at < SARTOR_NUMBERS)
                numbers[at] = *cell ? strtod(cell, NULL) : NAN;
            else
                codes[at - SARTOR_NUMBERS] = *cell ? atoi(cell) : -1;
            cell = next;
        }
        if (sartor_predict(numbers, codes, out))
            return 1;
        for (at = 0; at < SARTOR_OUTPUTS; at++)
            printf("%.17g%c", out[at], at + 1 < SARTOR_OUTPUTS ? ',' : '\n');
    }
    return 0;
}
#endif
