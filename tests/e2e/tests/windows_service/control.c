/* Sends a control code to a service: pausing and continuing, for which Wine's sc has no word. */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

int main(int argc, char **argv)
{
    SERVICE_STATUS status;
    SC_HANDLE manager, service;

    if (argc != 3)
        return 2;
    manager = OpenSCManagerA(NULL, NULL, SC_MANAGER_CONNECT);
    service = manager ? OpenServiceA(manager, argv[1], SERVICE_ALL_ACCESS) : NULL;
    if (!service || !ControlService(service, (DWORD)atoi(argv[2]), &status)) {
        fprintf(stderr, "error %lu\n", GetLastError());
        return 1;
    }
    return 0;
}
