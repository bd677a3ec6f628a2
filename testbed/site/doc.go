// Package site tries what an operator does outside the lab, on machines that are network namespaces of the test: faults for
// mpactl doctor to find.
package site
