import ij.IJ;
import ij.ImagePlus;
import ij.gui.PolygonRoi;
import ij.gui.Roi;
import ij.gui.Wand;
import ij.measure.Measurements;
import ij.measure.ResultsTable;
import ij.plugin.filter.Analyzer;
import ij.process.ImageProcessor;

/**
 * Prints ImageJ's own measurements of every label of a label image, one line each: plane, label, column=value ...
 *
 * Arguments: pixel size in µm, label image (16-bit TIFF), planes (TIFF). Regions are traced as 4-connected, as by the
 * wand, and measured by Analyze > Measure.
 */
public class ImageJMeasurements implements Measurements {
    private static final int EVERYTHING = AREA | PERIMETER | SHAPE_DESCRIPTORS | FERET | MEAN | STD_DEV | MIN_MAX
            | MEDIAN | SKEWNESS | KURTOSIS | INTEGRATED_DENSITY;

    public static void main(String[] arguments) {
        double pixelSize = Double.parseDouble(arguments[0]);
        ImageProcessor labels = open(arguments[1], pixelSize).getProcessor();
        int last = (int) labels.getStats().max;
        for (int plane = 2; plane < arguments.length; plane++) {
            ImagePlus image = open(arguments[plane], pixelSize);
            for (int label = 1; label <= last; label++) {
                image.setRoi(outline(labels, label));
                print(plane - 2, label, image);
            }
        }
    }

    private static ImagePlus open(String path, double pixelSize) {
        ImagePlus image = IJ.openImage(path);
        if (image == null) {
            throw new IllegalArgumentException("ImageJ cannot open " + path);
        }
        image.getCalibration().pixelWidth = pixelSize;
        image.getCalibration().pixelHeight = pixelSize;
        image.getCalibration().setUnit("um");
        return image;
    }

    private static Roi outline(ImageProcessor labels, int label) {
        for (int y = 0; y < labels.getHeight(); y++) {
            for (int x = 0; x < labels.getWidth(); x++) {
                if (labels.get(x, y) == label) {
                    Wand wand = new Wand(labels);
                    wand.autoOutline(x, y, label, label, Wand.FOUR_CONNECTED);
                    return new PolygonRoi(wand.xpoints, wand.ypoints, wand.npoints, Roi.TRACED_ROI);
                }
            }
        }
        throw new IllegalArgumentException("no pixel has label " + label);
    }

    private static void print(int plane, int label, ImagePlus image) {
        ResultsTable table = new ResultsTable();
        new Analyzer(image, EVERYTHING, table).measure();
        StringBuilder line = new StringBuilder(plane + " " + label);
        for (String column : table.getHeadings()) {
            line.append(' ').append(column).append('=').append(table.getValue(column, 0));
        }
        System.out.println(line);
    }
}
