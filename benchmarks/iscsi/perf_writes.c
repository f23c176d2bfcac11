/* Preloaded into iscsi-perf, which can only read: what it asks for as READ (16) goes out as WRITE (16), with the same
   number of blocks. So reads and writes are measured by the same client. */

#include <stddef.h>
#include <stdint.h>

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

static unsigned char data[16 * 1024 * 1024];

struct scsi_task *iscsi_read16_task(struct iscsi_context *iscsi, int lun, uint64_t lba, uint32_t length, int block,
                                    int protect, int dpo, int fua, int fua_nv, int group, iscsi_command_cb callback,
                                    void *private_data)
{
    struct scsi_task *task;

    if (length > sizeof(data))
        return NULL;
    task = iscsi_write16_task(iscsi, lun, lba, data, length, block, protect, dpo, fua, fua_nv, group, callback,
                              private_data);
    /* The request has been built. iscsi-perf looks at its CDB again when it is answered, and takes only a READ (16). */
    if (task)
        task->cdb[0] = SCSI_OPCODE_READ16;
    return task;
}
