#include "main/program.h"

int main(int argc, char** argv) {
    return exomesh::main::run_program(argc, argv);
}
